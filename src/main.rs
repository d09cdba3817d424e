//! k6sync

fn main() {}
