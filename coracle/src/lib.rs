//! All of Coracle in one binary, and the lab without root.
