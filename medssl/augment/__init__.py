"""Operations that change pixels: `sample` draws parameters from a `Chance`, `apply` is a pure function of them."""
