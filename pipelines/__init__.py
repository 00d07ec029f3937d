"""The systems as pipelines, and the command line that compiles, runs and serves them."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
