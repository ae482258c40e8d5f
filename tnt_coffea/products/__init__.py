"""What the stages leave on disk, as objects: the skim, the taggers, the histograms."""

from tnt_coffea.products.histograms import Histograms
from tnt_coffea.products.skims import Skim, as_skim, contents_of
from tnt_coffea.products.taggers import Taggers

__all__ = ["Histograms", "Skim", "Taggers", "as_skim", "contents_of"]
