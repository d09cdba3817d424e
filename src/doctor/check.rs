//! How a check is made: with a deadline, and so that a panic in it is only its own.

use std::time::Duration;

use tokio::time::timeout;

use super::finding::Finding;
use crate::isolate::isolated_future;

/// Who waits at a terminal waits no longer for one thing.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Makes one check, which may find several things. It is given up on after a while, and a panic in it is only its own.
pub(super) async fn check(
    name: &'static str,
    work: impl Future<Output = Result<Vec<Finding>, Finding>>,
) -> Vec<Finding> {
    match timeout(PATIENCE, isolated_future(work)).await {
        Ok(Ok(Ok(findings))) => findings,
        Ok(Ok(Err(finding))) => vec![finding],
        Ok(Err(bug)) => vec![Finding::error(
            name,
            bug.to_string(),
            "report it with what k6sync printed",
        )],
        Err(_) => vec![Finding::error(
            name,
            format!("no answer within {PATIENCE:?}"),
            "see whether what is asked is reachable from here, and not overloaded",
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Health;
    use super::*;

    #[tokio::test]
    async fn what_panics_is_a_finding() {
        let broken = check("clocks", async { panic!("no hands") }).await;
        assert_eq!(
            (broken[0].status, broken[0].check),
            (Health::Error, "clocks")
        );
        assert!(broken[0].message.contains("no hands"), "{broken:?}");
    }

    #[test]
    fn what_others_wrote_is_harmless() {
        let finding = Finding::warning("x", "a\u{1b}[2J\nb", "c\nd");
        assert_eq!(finding.message, "a\\u{1b}[2J b");
        assert_eq!(finding.todo.as_deref(), Some("c d"));
    }
}
