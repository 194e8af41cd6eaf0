"""The napari plugin: reader, writer, sample data, dock widgets. Only this room knows Qt."""
