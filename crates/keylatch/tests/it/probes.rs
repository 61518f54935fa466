//! Live probes on the real platform.
