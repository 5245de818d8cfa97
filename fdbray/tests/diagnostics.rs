//! What wrong programs are told: one file in `ui/` for each diagnostic, with the message beside it.

#[test]
fn diagnostics() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
