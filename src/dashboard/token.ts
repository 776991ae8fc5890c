// A token as text: what is none, and the one that an address brings. Pure; `api` trades it for a session.

/// Why this can be no token; empty if it can. What stands here would go into a header, which takes nothing else.
export function refused_token(text: string): string {
  if (/^[\x21-\x7e]+$/.test(text)) return '';
  return 'A token has only letters, digits and signs of ASCII, and no spaces: this was copied with something else.';
}

/// The token behind the # of an address; undefined if there is none.
export function token_of(hash: string): string | undefined {
  const found = /^#token=([^&]*)/.exec(hash);
  if (!found) return undefined;
  try {
    return decodeURIComponent(found[1]);
  } catch {
    return found[1]; // a % that is no code; it is refused or not like any other
  }
}
