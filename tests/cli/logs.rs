//! query and clean on logs made by hand.
