"""The frame and the charts of pages that are one HTML file without scripts."""
