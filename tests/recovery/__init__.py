"""The matrix of docs/recovery.md: every fault in every phase."""
