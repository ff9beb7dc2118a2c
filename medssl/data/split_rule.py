"""How a manifest is split, as plain values that can be checked before anything is read."""

from dataclasses import dataclass, replace

from medssl.errors import SettingsError


@dataclass(frozen=True)
class Rule:
    """How a manifest is split.

    Attributes:
        test: Share of patients for testing, in [0, 1); with sites or `test_from` it is what these say.
        val: Share of patients for validation, of all patients (of those outside the sites, with sites).
        seed: Another seed, another deal.
        stratify: Label column whose classes are dealt out one by one.
        sites: Sites that are the test part.
        by_time: Put the latest `test` and `val` shares of patients there.
        test_from: First day of the test part, YYYY-MM-DD; means `by_time`.
        val_from: First day of the validation part; means `by_time`.
        shared_ids: A patient number means one person at every site.
    """

    test: float | None = None
    val: float = 0.0
    seed: int = 0
    stratify: str | None = None
    sites: tuple[str, ...] = ()
    by_time: bool = False
    test_from: str | None = None
    val_from: str | None = None
    shared_ids: bool = False

    @property
    def kind(self) -> str:
        """One of random, sites and time."""
        return "sites" if self.sites else "time" if self.by_time or self.test_from or self.val_from else "random"

    def checked(self) -> "Rule":
        """Return the rule with its shares filled in.

        Raises:
            SettingsError: Two of its parts contradict each other, or a share is out of range.
        """
        if self.sites and (self.by_time or self.test_from or self.val_from):
            raise SettingsError("A split is by site or by time, not both", fix="Leave one of them out")
        if self.kind == "time" and self.stratify:
            raise SettingsError("A split by time follows dates and cannot be stratified", fix="Leave out --stratify")
        if self.test is not None and (self.sites or self.test_from):
            what = "the named sites" if self.sites else "what the first day gives"
            raise SettingsError(f"The test part is {what}, so --test cannot be given too", fix="Leave out --test")
        if self.val and self.val_from:
            raise SettingsError("The validation part is given as a share and as a day", fix="Leave one of them out")
        test = 0.0 if self.sites or self.test_from else 0.2 if self.test is None else self.test
        for name, share in (("--test", test), ("--val", self.val)):
            if not 0 <= share < 1:
                raise SettingsError(f"Expected {name} in [0, 1), but got {share:g}")
        if test + self.val >= 1:
            raise SettingsError(f"--test {test:g} and --val {self.val:g} leave nothing to train on")
        if not (test or self.val or self.val_from or self.sites or self.test_from):
            raise SettingsError("Nothing is split off: --test and --val are 0")
        return replace(self, test=test)

    @property
    def place(self) -> str:
        """The held-out sites in words."""
        return f"site{'s' if len(self.sites) > 1 else ''} {', '.join(self.sites)}"

    def __str__(self) -> str:
        """Return the rule as part of a sentence, with everything that is needed to repeat it."""
        shares = [f"{part} {share:.4g}" for part, share in (("test", self.test), ("val", self.val)) if share]
        if self.kind == "sites":
            shares.insert(0, f"test {self.place}")
        days = [f"{part} from {day}" for part, day in (("test", self.test_from), ("val", self.val_from)) if day]
        how = [f"stratified by '{self.stratify}'"] if self.stratify else []
        how += ["latest patients"] if self.kind == "time" else [f"seed {self.seed}"]
        how += ["patient numbers shared by sites"] if self.shared_ids else []
        return ", ".join([*shares, *days, *how])
