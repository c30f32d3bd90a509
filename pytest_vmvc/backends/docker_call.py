"""Calls of an engine's API, made ready beforehand: the engine is timed, and not our words."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker import APIClient
    from requests import Response
    from urllib3 import BaseHTTPResponse


class Call:
    """A POST to the API, whole: most of what a request costs us is to make it."""

    def __init__(
        self,
        client: APIClient,
        path: str,
        **request: Any,  # noqa: ANN401 - what requests takes
    ) -> None:
        from requests import Request
        from requests.utils import resolve_proxies

        url = f"{client.base_url}/v{client.api_version}{path}"
        self._request = client.prepare_request(Request("POST", url, **request))
        proxies = resolve_proxies(self._request, dict(client.proxies), client.trust_env)
        adapter: Any = client.get_adapter(url)  # of HTTP, whatever the types say
        self._adapter = adapter
        self._pool = adapter.get_connection_with_tls_context(
            self._request, client.verify, proxies=proxies, cert=client.cert
        )
        adapter.cert_verify(self._pool, url, client.verify, client.cert)
        self.path = str(adapter.request_url(self._request, proxies))

    def send(self, *, timeout_s: float, stream: bool = False) -> BaseHTTPResponse:
        """The engine's answer, read unless it is to be streamed.

        Raises the SDK's APIError for a refusal, and Timeout and ConnectionError of requests.
        """
        from docker.errors import APIError
        from requests import ConnectionError as Broken
        from requests import Timeout
        from urllib3 import exceptions

        try:
            answer: BaseHTTPResponse = self._pool.urlopen(
                "POST",
                self.path,
                body=self._request.body,
                headers=self._request.headers,
                timeout=timeout_s,
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
            )
            if answer.status >= 400:
                with self._adapter.build_response(self._request, answer) as refused:
                    raise APIError("refused", response=refused, explanation=_explanation(refused))
            if not stream:
                _ = answer.data
        except exceptions.NewConnectionError as error:  # it was a time-out once
            raise Broken(error) from error
        except exceptions.TimeoutError as error:
            raise Timeout(error) from error
        except exceptions.HTTPError as error:
            raise Broken(error) from error
        return answer


def _explanation(response: Response) -> str:
    with suppress(ValueError, KeyError, TypeError):
        return str(response.json()["message"])
    return str(response.text)
