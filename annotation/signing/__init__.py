"""Who signed what, with which meaning: Ed25519 keys, signatures on record, and signed files."""
