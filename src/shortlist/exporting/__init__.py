"""Bundles to files that other programs and languages can use: graphs of ONNX with what their numbers mean."""

from shortlist.exporting.folder import Exported, export_bundle

__all__ = ["Exported", "export_bundle"]
