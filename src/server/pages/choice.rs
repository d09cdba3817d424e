//! Choices in forms.

/// What can be chosen in a form.
pub(super) struct Choice {
    pub value: String,
    pub name: String,
    pub is_chosen: bool,
}
