"""What must hold before this is served."""

from app import app

client = app.test_client()
assert client.get("/greeting").status_code == 200, "the greeting fails"
assert client.get("/status/418").status_code == 418, "not a teapot any more"
assert client.get("/get?x=1").get_json()["args"] == {"x": "1"}, "the query is lost"
