//! The fuzz targets' checks, on their seeds and on what they once found: `scripts/fuzz.sh` looks for more.

use std::path::Path;

#[path = "../fuzz/checks.rs"]
mod checks;

#[test]
fn seeds_and_regressions_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    for (name, check) in checks::CHECKS {
        let mut checked = 0;
        for kind in ["seeds", "regressions"] {
            let Ok(inputs) = std::fs::read_dir(folder.join(kind).join(name)) else {
                continue;
            };
            for input in inputs {
                let path = input.unwrap().path();
                println!("{}", path.display());
                check(&std::fs::read(path).unwrap());
                checked += 1;
            }
        }
        assert!(checked > 0, "there are no inputs for {name}");
    }
}
