"""Pictures and tables: numbers in, one picture each out."""
