"""The REST interface without HTTP: `Request` in, `Response` and actions out."""

from lisp_sdn.api.app import Api
from lisp_sdn.api.http import Request, Response

__all__ = ["Api", "Request", "Response"]
