// What lets this page see and act. It came in the address's fragment, which no server is sent, and leaves it at once.

const NAME = "hotpipe.token";

export function found() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(NAME, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(NAME) ?? "";
}

export const headers = () => ({ "X-Hotpipe-Token": sessionStorage.getItem(NAME) ?? "" });
