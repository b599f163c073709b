//! farspan's one binary.
fn main() {}
