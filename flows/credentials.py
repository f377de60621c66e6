"""What a request of our own to Prefect's server carries, as Prefect's client would."""

import base64


def headers() -> dict[str, str]:
    """The password or key of the settings; nothing where there is none."""
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    if api.auth_string is not None:
        return {"Authorization": "Basic " + base64.b64encode(api.auth_string.get_secret_value().encode()).decode()}
    return {"Authorization": f"Bearer {api.key.get_secret_value()}"} if api.key is not None else {}
