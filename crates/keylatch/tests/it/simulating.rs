//! What `keylatch simulate` says, and that it is what then happens.
