"""What could stop a run or spoil its record, looked for before there is one. One subject a file."""
