//! Is everything as it should be, and if not, what is to be done? `k6sync doctor` calls [`examine`].
//!
//! It only reads: no database is created or migrated, nothing in the cluster is changed. Each check has a deadline of its own, and
//! one that hangs or fails is that check's finding: it keeps no other from being made. No finding has a secret in it.

mod check;
mod database;
mod finding;
mod history;
mod kubernetes;
mod patient;
mod rights;

pub(crate) use self::finding::{Finding, Health};
pub(crate) use self::patient::Patient;

/// Makes every check. Database and cluster are looked at beside each other.
pub(crate) async fn examine(patient: &Patient) -> Vec<Finding> {
    let (database, cluster) = tokio::join!(
        database::examine(&patient.database_url),
        kubernetes::examine(patient)
    );
    let mut findings = database.findings;
    findings.extend(cluster.findings);
    if let Some(reader) = &database.reader {
        findings.extend(history::examine(reader, patient, &cluster.seen).await);
        reader.close().await;
    }
    findings
}
