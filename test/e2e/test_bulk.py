"""Much data, many visitors, little memory. For the release build."""
