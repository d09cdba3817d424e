//! A sum of floats that does not depend on their order: exact until it is asked for (Shewchuk's expansions), then rounded once.

/// Terms as parts that do not overlap; their sum is exact.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum(Vec<f64>);

impl Sum {
    /// `term` is finite, and terms are so few and small that their sum is.
    pub(super) fn add(&mut self, term: f64) {
        let mut carry = term;
        let mut kept = 0;
        for index in 0..self.0.len() {
            let (mut large, mut small) = (carry, self.0[index]);
            if large.abs() < small.abs() {
                (large, small) = (small, large);
            }
            let sum = large + small;
            let lost = small - (sum - large);
            if lost != 0.0 {
                self.0[kept] = lost;
                kept += 1;
            }
            carry = sum;
        }
        self.0.truncate(kept);
        self.0.push(carry);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for part in &other.0 {
            self.add(*part);
        }
    }

    /// The float next to the exact sum; of two as near, the even one.
    pub(super) fn rounded(&self) -> f64 {
        let mut parts = self.0.iter().rev().copied();
        let Some(mut sum) = parts.next() else {
            return 0.0;
        };
        let mut lost = 0.0;
        for part in parts.by_ref() {
            let before = sum;
            sum = before + part;
            lost = part - (sum - before);
            if lost != 0.0 {
                break;
            }
        }
        // A tie was broken without what is below it.
        if let Some(below) = parts.next()
            && ((lost < 0.0 && below < 0.0) || (lost > 0.0 && below > 0.0))
        {
            let twice = lost * 2.0;
            let next = sum + twice;
            if twice == next - sum {
                sum = next;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(terms: &[f64]) -> f64 {
        let mut sum = Sum::default();
        terms.iter().for_each(|term| sum.add(*term));
        sum.rounded()
    }

    #[test]
    fn loses_nothing() {
        for (terms, expected) in [
            (&[][..], 0.0),
            (&[0.1; 10], 1.0),
            (&[1e16, 1.0, -1e16], 1.0),
            (&[1.0, 1e100, 1.0, -1e100], 2.0),
            (&[1e16, 1.0, 1e-16], 10_000_000_000_000_002.0),
            (&[-0.0], 0.0),
        ] {
            assert_eq!(sum(terms), expected, "{terms:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn order_and_grouping_make_no_difference(
            terms in proptest::collection::vec(-1e12_f64..1e12, 0..20),
            split in 0_usize..20,
        ) {
            let forward = sum(&terms);
            let backward: Vec<f64> = terms.iter().rev().copied().collect();
            assert_eq!(forward, sum(&backward));
            let (left, right) = terms.split_at(split.min(terms.len()));
            let (mut first, mut second) = (Sum::default(), Sum::default());
            right.iter().for_each(|term| first.add(*term));
            left.iter().for_each(|term| second.add(*term));
            first.merge(&second);
            assert_eq!(forward, first.rounded());
        }
    }
}
