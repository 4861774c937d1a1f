"""What a host installs: from a Keras network to a judged artifact. Read `pipeline` first."""
