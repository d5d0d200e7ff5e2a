//! What resolving finds on its way, for whoever wants to know. A request does not, and pays nothing.

use gate_model_ref::ProviderKind;

use super::{NotFoundReason, ProviderIndex, Target};

/// Hears what each step found, in the order in which they are tried.
pub(crate) trait Trace<'a> {
    /// Takes one finding.
    fn record(&mut self, finding: Finding<'a>);
}

/// Nobody listens.
impl<'a> Trace<'a> for () {
    #[inline]
    fn record(&mut self, _finding: Finding<'a>) {}
}

/// Remembers everything.
impl<'a> Trace<'a> for Vec<Finding<'a>> {
    fn record(&mut self, finding: Finding<'a>) {
        self.push(finding);
    }
}

/// Where a step looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At one provider and those below it.
    Provider(ProviderIndex),
    /// In a whole kind.
    Kind(ProviderKind),
}

/// What one step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding<'a> {
    /// Step 1: the name says its kind, which is not the endpoint's.
    KindRefused { named: ProviderKind, endpoint: ProviderKind },
    /// Step 1: the name says its kind.
    KindNamed(ProviderKind),
    /// Step 1: the endpoint says the kind.
    KindOfEndpoint(ProviderKind),
    /// Instead of step 1: the route names the provider; the rest of the name is looked up there.
    Pinned { pin: ProviderIndex, rest: &'a str },
    /// Step 2: whether `path` is a section or a provider with a default model.
    Exact { path: &'a str, target: Option<Target<'a>> },
    /// Step 3: whether the provider itself has the name.
    Own { provider: ProviderIndex, name: &'a str, target: Option<Target<'a>> },
    /// Step 3: which of those below has the name; of several, the default.
    Below { place: Place, name: &'a str, has_several: bool, target: Option<Target<'a>> },
    /// Step 3: several of those below have the name, each with a weight: they are one pool.
    Balanced { place: Place, name: &'a str },
    /// Step 3: a provider above lists the whole name.
    Listed(Target<'a>),
    /// In a pin, between steps 3 and 4: the name is that of something outside.
    OutsidePin(ProviderIndex),
    /// Step 4: the provider takes the name as it is.
    PassedThrough(Target<'a>),
    /// Step 4: no provider path is in front of the name.
    NoPath,
    /// Step 4 or 6: the name is not taken as it is.
    NotTaken(NotFoundReason),
    /// Step 5: whether the other kind has the name.
    OtherKind { kind: ProviderKind, has_it: bool },
    /// Step 6: the root of the kind takes the name as it is.
    RootTakes(Target<'a>),
}
