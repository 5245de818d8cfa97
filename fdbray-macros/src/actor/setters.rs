//! The options for creating an actor: methods that are the same for every actor.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Visibility;

/// Methods of the options' type, a tuple with one `Creation`.
pub(super) fn setters(visibility: &Visibility) -> TokenStream {
    quote! {
        /// CPUs that the actor holds as long as it lives; fractions allowed. Default 0: it shares its worker with others.
        #visibility fn cpus(mut self, n: impl ::core::convert::Into<f64>) -> Self {
            self.0.cpus(n.into());
            self
        }

        /// GPUs that the actor holds; fractions allowed. Default 0.
        #visibility fn gpus(mut self, n: impl ::core::convert::Into<f64>) -> Self {
            self.0.gpus(n.into());
            self
        }

        /// Bytes of memory that the actor holds. Default 0.
        #visibility fn memory(mut self, bytes: u64) -> Self {
            self.0.memory(bytes);
            self
        }

        /// An amount of a named resource that the actor holds. Those that the attribute names hold unless one is set here.
        #visibility fn resource(
            mut self,
            name: impl ::core::convert::Into<::std::string::String>,
            n: impl ::core::convert::Into<f64>,
        ) -> Self {
            self.0.resource(name.into(), n.into());
            self
        }

        /// Attempts of the constructor after the first when its worker dies. Default 3.
        #visibility fn retries(mut self, n: u32) -> Self {
            self.0.retries(n);
            self
        }

        /// Attempts of the constructor after one that returned an error or panicked, with back-off. Default 0.
        #visibility fn retry_errors(mut self, n: u32) -> Self {
            self.0.retry_errors(n);
            self
        }

        /// How often the actor is made again, by the same constructor from the same arguments, after its worker died or
        /// a method with `&mut self` panicked. Default 0: it has ended then.
        #visibility fn max_restarts(mut self, n: u32) -> Self {
            self.0.max_restarts(n);
            self
        }

        /// The name of the actor in the cluster, under which [`named`](::fdbray::ActorHandle::named) finds it until it ends.
        /// If another one has the name, this one is not made, and its calls end with
        /// [`Error::NameTaken`](::fdbray::Error::NameTaken).
        #visibility fn name(mut self, name: impl ::core::convert::Into<::std::string::String>) -> Self {
            self.0.name(name.into());
            self
        }

        /// The cluster owns the actor, rather than this process: it lives until it is stopped or killed, whoever has a
        /// handle, and survives the process that made it. The arguments of its constructor are kept in the control plane.
        #visibility fn detached(mut self) -> Self {
            self.0.detached();
            self
        }

        /// Whether what the constructor prints and logs is shown in the driver's terminal. Default true.
        #visibility fn logs(mut self, on: bool) -> Self {
            self.0.logs(on);
            self
        }

        /// The actor is rather in the process that has the value of `future`. The last one of `near`, `with`, `prefer`
        /// and `on` holds; see [`Call::near`](::fdbray::Call::near).
        #visibility fn near<T>(mut self, future: &::fdbray::__private::RemoteFuture<T>) -> Self {
            self.0.near(future, false);
            self
        }

        /// The actor is in the process that has the value of `future`, and nowhere else: see
        /// [`Call::with`](::fdbray::Call::with).
        #visibility fn with<T>(mut self, future: &::fdbray::__private::RemoteFuture<T>) -> Self {
            self.0.near(future, true);
            self
        }

        /// The actor is rather in this member of the cluster: see [`Call::prefer`](::fdbray::Call::prefer).
        #visibility fn prefer(mut self, member: ::fdbray::__private::ProcessId) -> Self {
            self.0.on(member, false);
            self
        }

        /// The actor is in this member of the cluster, and nowhere else: see [`Call::on`](::fdbray::Call::on).
        #visibility fn on(mut self, member: ::fdbray::__private::ProcessId) -> Self {
            self.0.on(member, true);
            self
        }
    }
}
