//! A kubectl-like client that knows no kind by name.
