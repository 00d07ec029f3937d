"""The steps of the pipelines: one folder a step, a typed KFP shell beside the plain modules that do the work."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)  # a step or a task may be a folder elsewhere on the path
