//! What the components of the groups here do with AppDataUpdate: the last update is the new data. OpenMLS leaves this
//! to the application and asks for the outcome, when a commit is made and when one is received.

use std::borrow::BorrowMut;

use openmls::component::ComponentData;
use openmls::prelude::{
    AppDataDictionaryUpdater, AppDataUpdateOperation, AppDataUpdateProposal, AppDataUpdates, CommitBuilder,
    LoadedPsks, MlsGroup,
};

pub fn outcome<'a>(
    mut updater: AppDataDictionaryUpdater<'_>,
    proposals: impl IntoIterator<Item = &'a AppDataUpdateProposal>,
) -> Option<AppDataUpdates> {
    for proposal in proposals {
        let component = proposal.component_id();
        match proposal.operation() {
            AppDataUpdateOperation::Update(data) => {
                updater.set(ComponentData::from_parts(component, data.clone()));
            }
            AppDataUpdateOperation::Remove => updater.remove(&component),
        }
    }
    updater.changes()
}

/// Tell a commit in the making what its updates come to.
pub fn carry_out<G: BorrowMut<MlsGroup>>(builder: &mut CommitBuilder<'_, LoadedPsks, G>) {
    let proposals: Vec<AppDataUpdateProposal> = builder.app_data_update_proposals().cloned().collect();
    let updates = outcome(builder.app_data_dictionary_updater(), &proposals);
    builder.with_app_data_dictionary_updates(updates);
}
