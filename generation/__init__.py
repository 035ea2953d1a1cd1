"""The workshop: engines, the queue, the stream, the gallery."""
