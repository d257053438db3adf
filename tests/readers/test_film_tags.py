import pytest

from damd.readers.streams.film_tags import read_capture, read_description, read_identifier


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"creation_time": "2017-02-22T08:20:28.000000Z"}, "2017-02-22T08:20:28+00:00"),
        ({"creation_time": "2003-03-10 15:04:43"}, "2003-03-10T15:04:43"),
        ({"date": "2014-12-18T09:11:59-0330", "creation_time": "2017-02-22T08:20:28Z"}, "2014-12-18T09:11:59-03:30"),
        ({"date": "2014", "creation_time": "2017-02-22T08:20:28Z"}, "2017-02-22T08:20:28+00:00"),
        ({"creation_time": "1904-01-01T00:00:00Z"}, None),
        ({"creation_time": "1970-01-01T00:00:00.000000Z"}, None),
        ({"creation_time": "2019-02-30T00:00:00Z"}, None),
        ({"date": "2014-12-18T09:11:59+99:00"}, "2014-12-18T09:11:59"),
        ({"creation_time": "soon"}, None),
        ({"date": "2020-08-28"}, "2020-08-28"),
        ({"icrd": "2020/08/28 "}, "2020-08-28"),
        ({"date": "2020-08-28", "creation_time": "2020-08-28T10:11:12Z"}, "2020-08-28T10:11:12+00:00"),
        ({"date": "2020-08-32"}, None),
        ({"date": "1970-01-01"}, None),
    ],
)
def test_the_time_of_capture_is_the_cameras_own_where_it_is_known(tags: dict[str, str], expected: str | None) -> None:
    assert read_capture(tags).get("taken_at") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+48.1173+011.5167+545.000/", (48.1173, 11.5167, 545.0)),
        ("+51.4169-000.0806/", (51.4169, -0.0806, None)),
        ("-3352.50+15112.00/", (-33.875, 151.2, None)),
        ("+404230-0740021+010.5CRSWGS_84/", (40.708333333, -74.005833333, 10.5)),
        ("+27.5916+086.5640-12.25CRSWGS_84/", (27.5916, 86.564, -12.25)),
        ("+00.0000+000.0000/", None),
        ("+91.0+011.0/", None),
        ("+48.1/", None),
        ("+4861+01100/", None),
        ("somewhere", None),
    ],
)
def test_a_place_is_read_in_every_form_of_iso_6709(text: str, expected: tuple[float | None, ...] | None) -> None:
    found = read_capture({"location": text})
    places = tuple(found.get(name) for name in ("latitude", "longitude", "altitude_m"))
    assert places == (expected or (None, None, None))


def test_what_people_wrote_is_found_under_any_of_its_names() -> None:
    tags = {"artist": "Ada", "comment": "By the sea", "copyright": "© Ada", "keywords": "a;b; a", "rating": "9"}
    assert read_description(tags) == {
        "description": "By the sea",
        "creator": "Ada",
        "copyright": "© Ada",
        "keywords": ["a", "b"],
    }


def test_an_identifier_is_one_line() -> None:
    assert read_identifier({"com.apple.quicktime.content.identifier": "B2F1\n77"}) == "B2F1 77"
    assert read_identifier({}) is None
