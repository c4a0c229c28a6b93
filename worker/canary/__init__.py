"""The canary: what proves, before anything is written, that an authority gives the keys it gave before."""
