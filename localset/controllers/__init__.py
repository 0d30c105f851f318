"""One room per controller: shell (controller), brain (plan, pure), report (status)."""
