"""Addresses of the project in the package's metadata, made from that of its repository."""

from hatchling.metadata.plugin.interface import MetadataHookInterface


def project_urls(repository: str) -> dict[str, str]:
    """Addresses of the pages of a repository; none where it has no address.

    >>> project_urls("https://example.org/linfkit/")["Changelog"]
    'https://example.org/linfkit/blob/HEAD/CHANGELOG.md'
    >>> project_urls("")
    {}
    """
    if not repository:
        return {}
    repository = repository.rstrip("/")
    return {
        "Repository": repository,
        "Documentation": f"{repository}/tree/HEAD/docs",
        "Changelog": f"{repository}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


class ProjectUrls(MetadataHookInterface):
    """Hook that hatchling calls with the settings of `[tool.hatch.metadata.hooks.custom]`."""

    def update(self, metadata: dict) -> None:
        """Add the addresses to the `[project]` table."""
        metadata["urls"] = project_urls(self.config["repository"])
