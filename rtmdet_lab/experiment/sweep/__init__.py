"""Many runs of one table: rows times seeds, each in a process and a folder of its own."""
