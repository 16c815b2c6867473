//! Keeps projects and hands out fresh access tokens round-robin.
