"""What only a camera's RAW file has."""
