"""What films and recordings are made of: containers, frames, tags, covers."""
