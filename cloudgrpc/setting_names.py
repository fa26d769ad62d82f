"""Settings that are not only told by their own names: secrets that come from files, and names of other programs."""

# Those whose file is read again when it changes, and may hold several lines.
ROTATED = frozenset({("cluster", "secret"), ("encryption", "master_key")})

# Keys that may come from a file instead, named with `_file` after them.
SECRET_KEYS = frozenset(
    {
        ("gateway", "digest_key"),
        ("database", "password"),
        ("cluster", "secret"),
        ("encryption", "master_key"),
        ("mail", "password"),
        ("campay", "password"),
        ("campay", "webhook_key"),
        ("admin", "key"),
    }
)

# The names users already have in their environment.
FAMILIAR = {
    "DB_HOST": ("database", "host"),
    "DB_PORT": ("database", "port"),
    "DB_NAME": ("database", "name"),
    "DB_USER": ("database", "user"),
    "DB_PASSWORD": ("database", "password"),
    "GRPC_SERVER_HOST": ("gateway", "host"),
    "GRPC_SERVER_PORT": ("gateway", "port"),
    "GMAIL_USER": ("mail", "user"),
    "GMAIL_APP_PASSWORD": ("mail", "password"),
    "ADMIN_KEY": ("admin", "key"),
    "CAMPAY_APP_USERNAME": ("campay", "username"),
    "CAMPAY_APP_PASSWORD": ("campay", "password"),
    "CAMPAY_BASE_URL": ("campay", "base_url"),
    "CLOUDGRPC_CA": ("tls", "ca_file"),
}
PREFIX = "CLOUDGRPC_"
OUTSIDE_SECTIONS = frozenset({"CLOUDGRPC_CONFIG"})  # read by the command line itself
