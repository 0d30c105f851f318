"""The variables of paths and the query parameters: their types and one line about each.

Pure data, for `version2` and `version3`. NB: kubectl asks for `dryRun` and `fieldValidation` by name (kube-api.md 3).
"""

from typing import NamedTuple


class Parameter(NamedTuple):
    """A JSON type, what it means, and whether it may be given more than once."""

    type: str
    text: str
    is_repeated: bool = False


VARIABLES = {
    "name": "name of the {kind}",
    "namespace": "object name and auth scope, such as for teams and projects",
}

QUERY: dict[str, Parameter] = {
    "allowWatchBookmarks": Parameter("boolean", "Send BOOKMARK events on a watch, at the server's discretion."),
    "command": Parameter("string", "The command to run, and its arguments; no shell is involved.", is_repeated=True),
    "container": Parameter("string", "The container; may be left out when the Pod has one."),
    "continue": Parameter("string", "The token of the last answer, to go on with a list that was limited."),
    "dryRun": Parameter("string", "All: go through every stage and keep nothing."),
    "fieldManager": Parameter("string", "Who changes the object: at most 128 printable characters."),
    "fieldSelector": Parameter("string", "Restrict the list by fields. Defaults to everything."),
    "fieldValidation": Parameter("string", "What to do about unknown and duplicate fields: Ignore, Warn or Strict."),
    "follow": Parameter("boolean", "Go on with the log as it is written."),
    "force": Parameter("boolean", "Take over fields that others own; for apply patches alone."),
    "gracePeriodSeconds": Parameter("integer", "Seconds until the object is deleted; zero means at once."),
    "insecureSkipTLSVerifyBackend": Parameter("boolean", "Has no effect here."),
    "labelSelector": Parameter("string", "Restrict the list by labels. Defaults to everything."),
    "limit": Parameter("integer", "The most items to return; the rest is reached by continue."),
    "limitBytes": Parameter("integer", "The most bytes of the log to return."),
    "orphanDependents": Parameter("boolean", "Deprecated: use propagationPolicy."),
    "ports": Parameter("integer", "The ports to forward."),
    "pretty": Parameter("string", "If 'true', then the output is pretty printed."),
    "previous": Parameter("boolean", "The log of the container before its last restart."),
    "propagationPolicy": Parameter("string", "What happens to dependents: Orphan, Background or Foreground."),
    "resourceVersion": Parameter("string", "Which resource versions the answer may be served from."),
    "resourceVersionMatch": Parameter("string", "How resourceVersion is applied to a list: Exact or NotOlderThan."),
    "sendInitialEvents": Parameter("boolean", "Begin a watch with what there is, closed by a bookmark."),
    "sinceSeconds": Parameter("integer", "Seconds before now from which on to show the log."),
    "sinceTime": Parameter("string", "An RFC 3339 time from which on to show the log."),
    "stderr": Parameter("boolean", "Redirect the standard error stream of the Pod for this call."),
    "stdin": Parameter("boolean", "Redirect the standard input stream of the Pod for this call."),
    "stdout": Parameter("boolean", "Redirect the standard output stream of the Pod for this call."),
    "stream": Parameter("string", "Which of the container's streams to return."),
    "tailLines": Parameter("integer", "How many lines from the end of the log to show."),
    "timeoutSeconds": Parameter("integer", "How long the list or watch may take."),
    "timestamps": Parameter("boolean", "Begin every line with its RFC 3339 time."),
    "tty": Parameter("boolean", "Give the call a terminal."),
    "watch": Parameter("boolean", "Watch for changes, as a stream of events."),
}
