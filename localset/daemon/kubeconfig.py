"""The text of `<data directory>/kubeconfig`: how kubectl and every client library find this daemon.

Written by `access` at each start. It holds the owner's key, so it is 0600 like the key itself.
"""

import base64

_TEMPLATE = """\
apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster:
    server: {server}
    certificate-authority-data: {authority}
users:
- name: {name}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: {name}
  context:
    cluster: {name}
    user: {name}
current-context: {name}
preferences: {{}}
"""


def kubeconfig(name: str, server: str, authority: str, certificate: str, key: str) -> str:
    """Return a kubeconfig with one context `name`; the other texts are a URL and PEM."""
    return _TEMPLATE.format(
        name=name,
        server=server,
        authority=_encoded(authority),
        certificate=_encoded(certificate),
        key=_encoded(key),
    )


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
