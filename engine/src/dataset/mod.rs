//! Files to partitions to columns.
