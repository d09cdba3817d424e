-- Which namespaces there are is asked whenever somebody looks: a few looks into this, however many steps there are.
CREATE INDEX test_run_steps_namespace ON test_run_steps (namespace);
