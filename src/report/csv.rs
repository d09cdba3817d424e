//! Comma-separated values as RFC 4180 has them.

/// The header and the rows, a line each.
pub(crate) fn lines(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Into memory, and each row is as long as the header: nothing of it can fail.
    let mut write = |row: &mut dyn Iterator<Item = &str>| {
        for field in row {
            writer.write_field(field).unwrap_or_default();
        }
        writer.write_record(None::<&[u8]>).unwrap_or_default();
    };
    write(&mut header.iter().copied());
    for row in rows {
        write(&mut row.iter().map(String::as_str));
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_separates_is_quoted() {
        let rows = [vec!["1".to_owned(), "a, \"b\"\nc".to_owned()]];
        assert_eq!(
            lines(&["id", "name"], rows),
            "id,name\n1,\"a, \"\"b\"\"\nc\"\n"
        );
        assert_eq!(lines(&["id", "name"], []), "id,name\n");
    }
}
