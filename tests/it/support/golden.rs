//! What a person sees, kept in files: `tests/data/golden`. `UPDATE_GOLDEN=1` writes them anew, to be looked at before they are
//! committed.

use std::path::PathBuf;

/// Compares with the file of this name, or writes it.
pub fn assert_golden(name: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; run it with UPDATE_GOLDEN=1", file.display()));
    assert!(
        text == expected,
        "{name} is not what it was; it was\n{expected}\nand is\n{text}\nIf that is right, run it with UPDATE_GOLDEN=1"
    );
}
